<extend>form
<?table?>appointment
<?inputs?>
<div class="field wide"><label for="title">What</label>{title}{title_error}</div>
<div class="field"><label for="day">Day</label>{day}{day_error}</div>
<div class="field"><label for="contact">With</label>{contact}{contact_error}</div>
<div class="field"><label for="starts">From</label>{starts}{starts_error}</div>
<div class="field"><label for="ends">Until</label>{ends}{ends_error}</div>
<div class="field wide"><label for="memo">Notes</label>{memo}{memo_error}</div>
{version_error}
</extend>
