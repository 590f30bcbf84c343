<!DOCTYPE html>
<title>{title} | Gallery</title>
<body>{body}</body>
