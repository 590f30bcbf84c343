<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Datebook - closed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
body { margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center; padding: 2rem; box-sizing: border-box;
  font: 1.1rem/1.6 system-ui, sans-serif; background: #f6f1e7; color: #2b2a33 }
h1 { font: 600 2rem/1.2 Georgia, serif; margin: 0 0 .5rem }
p { margin: 0; opacity: .75 }
@media (prefers-color-scheme: dark) { body { background: #17181d; color: #e9e4da } }
</style>
</head>
<body>
<h1>The datebook is closed</h1>
<p>Everything is saved. You can close this tab.</p>
</body>
</html>
