<extend>page
<?title?>Tasks
<?body?>
<header class="title"><h1>Tasks</h1><a class="button" href="task/new">New task</a></header>
<p class="tabs"><a href="task/?order=due"{.by_due}>By date</a><a href="task/?order=priority"{.by_priority}>By priority</a></p>
{tasks}
</extend>
