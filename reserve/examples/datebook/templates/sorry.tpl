<extend>page
<?title?>Not here
<?body?>
<section class="question">
<h1>There is nothing on this page</h1>
<p>Perhaps it was deleted, or the address has a slip. <a href=".">Back to today</a></p>
</section>
</extend>
