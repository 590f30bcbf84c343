<a class="danger" href="delete/{table}/{number}">Delete</a>
