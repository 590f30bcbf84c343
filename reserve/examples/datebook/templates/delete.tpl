<extend>page
<?title?>Delete
<?body?>
<section class="question">
<h1>Delete &ldquo;{name}&rdquo;?</h1>
<p>This cannot be undone.</p>
<form method="post" action="delete/{table}/{number}"><button class="danger">Delete</button> <a href="{table}/{number}">Keep it</a></form>
</section>
</extend>
