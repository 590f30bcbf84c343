<div class="problem conflict" role="alert">
<p><b>Another tab has saved this {table} meanwhile.</b> Your text is still in the fields below and is not saved. What is
saved now differs in:</p>
{difference}
<p><button name="overwrite" value="{version}">Save mine over it</button>
<a href="{table}/{number}">Throw mine away</a></p>
</div>
