<extend>page
<?title?>{heading}
<?body?>
<p class="back"><a href="{table}/">&larr; Back to the list</a></p>
<h1>{heading}</h1>
<form class="record" method="post">
{version}
{inputs}
<footer><button name="save" value="1">Save</button>{delete}</footer>
{problem}
</form>
{more}
</extend>
