<section class="welcome">
<h2>An empty book</h2>
<p>Begin with <a href="contact/new">a contact</a>, <a href="appointment/new">an appointment</a> or
<a href="task/new">a task</a>. Or look around with a few examples, which you can change and delete.</p>
<form method="post" action="samples"><button>Add examples</button></form>
</section>
