"""K-SOM: reads music, maps its states, and makes new music from them with coupled oscillators.

Analysis (`analysis`) cuts a recording into steps of a quarter beat and finds the notes that sound in
each. A self-organising map (`som`) learns the states; the path of a track over it gives a transition
table (`walk`). Two groups of coupled phase oscillators, rhythm and pitch (`oscillators`), play a walk
over the map (`synth`). `bands` keeps the original's five-band mode. One readable JSON (`modelfile`)
carries it from step to step and into `cspace live --ksom`.
"""
