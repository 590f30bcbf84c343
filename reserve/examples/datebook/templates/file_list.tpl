<loop>
<ul class="filelist">
<?begin?>
<li>{preview}<a href="file/{file}/download">{name}</a><span>{size}</span><form method="post" action="file/{file}/delete"><button class="quiet" title="Delete {name}">Delete</button></form></li>
<?end?>
</ul>
</loop>
