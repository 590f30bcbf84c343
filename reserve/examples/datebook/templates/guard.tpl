<extend>page
<?title?>Safety net
<?body?>
<h1>Safety net</h1>
<p class="lead">A change of the data lasts only when the program commits it. A program that forgets this shows the change
to itself and loses it at its end; other programs meanwhile wait for a locked file. <code>TransactionGuard</code> looks
after each request whether a transaction was left open. If so, it rolls it back, and the visitor gets an error in place of
a page that says &ldquo;saved&rdquo;.</p>
<div class="columns">
<form class="try" method="post" action="guard"><h2>With a commit</h2><p>Adds a task and commits it.</p>
<button name="how" value="commit">Save a task</button></form>
<form class="try" method="post" action="guard"><h2>Without a commit</h2><p>Adds a task, forgets the commit and claims that all is well.</p>
<button name="how" value="forget" class="danger">Forget the commit</button></form>
</div>
<p class="count">Saved now: <b id="count">{count}</b> tasks. <a href="task/">Look at them</a></p>
</extend>
