<section class="files">
<h2>Files</h2>
<form class="upload" method="post" enctype="multipart/form-data" action="contact/{number}/upload">
<label for="file">A photo or a document</label>
<input id="file" type="file" name="file">
<button>Keep it</button>
{upload_error}
</form>
{files}
</section>
<section class="meetings">
<header><h2>Appointments</h2><a class="button" href="appointment/new?contact={number}">New appointment</a></header>
{agenda}
</section>
