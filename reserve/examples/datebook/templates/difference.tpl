<loop>
<dl>
<?begin?>
<dt>{label}</dt><dd>{value}</dd>
<?end?>
</dl>
<?else?>
<p>(nothing: both are the same)</p>
</loop>
