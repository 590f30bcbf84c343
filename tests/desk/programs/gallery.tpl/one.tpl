<extend>picture
<?caption?><b>{name}</b> by {by}
</extend>
