<img src="file/{file}/show" alt="" loading="lazy">
