<img class="avatar" src="file/{file}/show" alt="" title="{name}">
