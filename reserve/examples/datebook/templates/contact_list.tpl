<loop>
<ul class="people">
<?begin?>
<li><a class="card" href="contact/{contact}">{avatar}<span><b>{name}</b><span>{line}</span></span></a></li>
<?end?>
</ul>
<?else?>
<p class="empty">{empty}</p>
</loop>
