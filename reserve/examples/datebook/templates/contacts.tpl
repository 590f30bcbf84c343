<extend>page
<?title?>Contacts
<?body?>
<header class="title"><h1>Contacts</h1><a class="button" href="contact/new">New contact</a></header>
<form class="search" method="get" action="contact/" role="search">
<input type="search" name="q" value="{q}" placeholder="Name, number, address, notes" aria-label="Search in the contacts">
<button>Search</button>
</form>
<p class="count">{count}</p>
{list}
</extend>
