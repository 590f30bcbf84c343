<time class="leaf{kind}" datetime="{day}"><span>{name}</span><b>{number}</b><span>{month}</span></time>
