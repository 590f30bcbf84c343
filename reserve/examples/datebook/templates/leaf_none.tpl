<span class="leaf none"></span>
