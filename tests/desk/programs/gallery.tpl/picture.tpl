<extend> base
<?title?>Picture: {name}
<?body?>
<figure>{caption}<small>{year}</small></figure>
</extend>
