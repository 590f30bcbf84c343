<p class="notice" role="status">{text}</p>
