<extend>page
<?title?>Today
<?body?>
<h1>{heading}</h1>
{welcome}
{week}
<div class="columns">
<section>
<header><h2>Coming up</h2><a class="button" href="appointment/new">New appointment</a></header>
{agenda}
</section>
<section>
<header><h2>To do</h2><a class="button" href="task/new">New task</a></header>
{tasks}
</section>
</div>
</extend>
