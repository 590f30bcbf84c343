<p class="problem" role="alert">Nothing is saved yet: please look at the marked fields.</p>
