<loop>
<ol class="agenda">
<?begin?>
<li><div class="day">{leaf}</div>
<a class="card" href="appointment/{appointment}"><b>{title}</b><span>{hours}</span><span class="who">{name}</span></a></li>
<?end?>
</ol>
<?else?>
<p class="empty">{empty}</p>
</loop>
