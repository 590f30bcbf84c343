<extend>form
<?table?>task
<?inputs?>
<div class="field wide"><label for="title">What</label>{title}{title_error}</div>
<div class="field"><label for="due">Due</label>{due}{due_error}</div>
<div class="field"><label for="priority">Priority</label>{priority}{priority_error}</div>
<div class="field"><label for="done">Done</label>{done}{done_error}</div>
<div class="field wide"><label for="memo">Notes</label>{memo}{memo_error}</div>
{version_error}
</extend>
