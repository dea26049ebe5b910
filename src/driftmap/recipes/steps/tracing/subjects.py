"""How strong is noise where a single prompt has no file of subjects?

A short list of our own, of people, places, works and things of one to four words.
"""

SUBJECTS: tuple[str, ...] = (
    "Ada Lovelace", "Alan Turing", "Albert Einstein", "Amazon River", "Antarctica",
    "Apple", "Australia", "Bach", "Berlin", "Big Ben", "Bolivia", "Brazil", "Cairo",
    "Charles Darwin", "Chess", "Cleopatra", "Danube", "Eiffel Tower", "Everest",
    "Frida Kahlo", "Galileo Galilei", "Google", "Hamlet", "Honda", "Iceland",
    "Isaac Newton", "Istanbul", "Jane Austen", "Jazz", "Johann Sebastian Bach",
    "Jupiter", "Kyoto", "Lake Victoria", "Leonardo da Vinci", "Lisbon", "Madagascar",
    "Marie Curie", "Microsoft Windows", "Mona Lisa", "Mount Kilimanjaro", "Mozart",
    "Nelson Mandela", "New Zealand", "Nile", "Nokia", "Norway", "Pablo Picasso",
    "Pacific Ocean", "Paris", "Python", "Queen Victoria", "Rembrandt", "Rome",
    "Sahara", "Saturn", "Shanghai", "Simone de Beauvoir", "Space Needle",
    "The Beatles", "The Lord of the Rings", "Tokyo", "Toyota", "Vienna", "Volkswagen",
)  # fmt: skip
