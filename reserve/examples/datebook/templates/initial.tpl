<span class="avatar c{colour}" aria-hidden="true">{letter}</span>
