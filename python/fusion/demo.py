"""``python -m fusion.demo``: a verified batch within this process."""

from fusion._demo import main

if __name__ == "__main__":
    main()
