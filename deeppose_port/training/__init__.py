"""What training is in either backend: its options, where it starts from, and the folder that it leaves.

options.py   the options of a run, and the optimizer's hyper-parameters
initial.py   the first weights of a network that starts anew
start.py     what a run starts from: anew, from weights, or where another run stopped
folder.py    the result folder, laid out as the legacy program's
"""
