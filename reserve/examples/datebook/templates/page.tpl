<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - Datebook</title>
<base href="{root}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/datebook.css">
</head>
<body>
<header class="spine">
<a class="brand" href="."><img src="static/icon.svg" alt="" width="34" height="34"><span>Datebook</span></a>
<nav aria-label="Parts of the datebook">
<a href="."{.at_today}><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"/><circle cx="12" cy="12" r="4"/></svg><span>Today</span></a>
<a href="appointment/"{.at_appointment}><svg viewBox="0 0 24 24" aria-hidden="true"><rect x="4" y="5" width="16" height="15" rx="2"/><path d="M4 10h16M8 3v4M16 3v4"/></svg><span>Appointments</span></a>
<a href="task/"{.at_task}><svg viewBox="0 0 24 24" aria-hidden="true"><rect x="4" y="4" width="16" height="16" rx="3"/><path d="m8 12 3 3 5-6"/></svg><span>Tasks</span></a>
<a href="contact/"{.at_contact}><svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="8" r="4"/><path d="M4 20c1-4 4-6 8-6s7 2 8 6"/></svg><span>Contacts</span></a>
<a href="guard"{.at_guard}><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 3 5 6v5c0 5 3 8 7 10 4-2 7-5 7-10V6z"/><path d="m9 12 2 2 4-4"/></svg><span>Safety net</span></a>
</nav>
{quit_button}
</header>
<main>
{notice}
{body}
</main>
</body>
</html>
