from metaflow import FlowSpec, step


class BranchFlow(FlowSpec):
    """Counts the letters and the words of a text side by side, then joins the results."""

    @step
    def start(self):
        """Choose the text."""
        self.text = "the quick brown fox jumps over the lazy dog"
        self.next(self.letters, self.words)

    @step
    def letters(self):
        """Count each letter."""
        from collections import Counter

        self.counts = Counter(self.text.replace(" ", ""))
        self.next(self.join)

    @step
    def words(self):
        """Measure each word."""
        self.lengths = {word: len(word) for word in self.text.split()}
        self.next(self.join)

    @step
    def join(self, inputs):
        """Bring both results together."""
        self.most_common = inputs.letters.counts.most_common(1)[0]
        self.longest = max(inputs.words.lengths.values())
        self.next(self.end)

    @step
    def end(self):
        """Print what was found."""
        letter, times = self.most_common
        print(f"`{letter}` occurs {times} times; the longest word has {self.longest} letters")


if __name__ == "__main__":
    BranchFlow()
