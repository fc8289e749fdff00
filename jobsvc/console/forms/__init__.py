"""Forms of the console: what people type, read into the words that the verbs take."""
