<loop>
<ul class="checklist">
<?begin?>
<li class="{kind}"><form method="post" action="task/{task}/done"><input type="hidden" name="back" value="{back}"><button class="tick" title="{action}"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 12 4 4 8-9"/></svg><span>{action}: {title}</span></button></form>
<a href="task/{task}"><b>{title}</b>{when}</a><span class="priority p{priority}">{label}</span></li>
<?end?>
</ul>
<?else?>
<p class="empty">{empty}</p>
</loop>
