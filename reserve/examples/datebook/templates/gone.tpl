<div class="problem conflict" role="alert">
<p><b>Another tab has deleted this {table} meanwhile.</b> Your text is still in the fields below.</p>
<p><button name="overwrite" value="new">Save it as a new {table}</button> <a href="{table}/">Throw mine away</a></p>
</div>
