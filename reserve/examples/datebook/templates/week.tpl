<loop>
<ol class="week">
<?begin?>
<li><a href="appointment/new?day={day}" title="New appointment on {day:longday}">{leaf}<span class="dots">{dots}</span></a></li>
<?end?>
</ol>
</loop>
