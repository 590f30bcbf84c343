<time datetime="{day}">{day:longday}</time>
