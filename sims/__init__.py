"""The MuJoCo plant, its robots and tasks, domain gaps, links, and fault injection."""
