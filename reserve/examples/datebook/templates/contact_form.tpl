<extend>form
<?table?>contact
<?inputs?>
<div class="field wide"><label for="name">Name</label>{name}{name_error}</div>
<div class="field"><label for="phone">Phone</label>{phone}{phone_error}</div>
<div class="field"><label for="email">E-mail</label>{email}{email_error}</div>
<div class="field"><label for="address">Address</label>{address}{address_error}</div>
<div class="field"><label for="memo">Notes</label>{memo}{memo_error}</div>
{version_error}
</extend>
