<loop>
<table class="{unit}">
<?begin?>
<tr><td>{name}</td><td>{year} {unit}</td><td>{by}</td></tr>
<?end?>
</table>
<?else?>
<p>nothing</p>
</loop>
