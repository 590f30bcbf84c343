<p class="error" role="alert">{text}</p>
