"""Takes a partition to one native call: groups, plans for shapes, and what runs them."""
