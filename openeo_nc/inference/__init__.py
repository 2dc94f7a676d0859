"""Where codecs run: what a graph carries of one, which device, one load a process."""
