"""GA4: what is asked of the Data API, how it lands, and which pull of a date counts. No Dagster here.

``reports`` says what is asked; a ``property`` answers, Google's (``client``) or a made-up one (``synthetic``);
``collect`` writes the answers to landing; ``pulls`` reads them there and chooses; ``loading`` stages the chosen ones.
"""
