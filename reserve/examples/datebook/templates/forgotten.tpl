<extend>page
<?title?>Not saved
<?body?>
<section class="question">
<h1>Nothing was saved</h1>
<p class="problem">The program forgot to commit what it wrote. <code>TransactionGuard</code> has rolled it back, put a line
with the name of the handler into the log, and sent this page in place of the program&rsquo;s own.</p>
<p><a href="guard">Back to the safety net</a></p>
</section>
</extend>
