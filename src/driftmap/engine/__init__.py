"""Where does work run? In this process, in worker processes, or on a Ray cluster."""
