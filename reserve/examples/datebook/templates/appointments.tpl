<extend>page
<?title?>Appointments
<?body?>
<header class="title"><h1>Appointments</h1><a class="button" href="appointment/new">New appointment</a></header>
<p class="tabs"><a href="appointment/"{.coming}>Coming up</a><a href="appointment/?when=past"{.past}>Past</a></p>
{agenda}
</extend>
