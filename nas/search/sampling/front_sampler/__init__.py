"""Which network is worth training next, when everything but its accuracy is known?"""
