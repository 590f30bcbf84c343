
<extend>base
<?body?>
	<h1>{title}</h1>
	{rows}
	<p title="{note}">{note}</p>
</extend>
