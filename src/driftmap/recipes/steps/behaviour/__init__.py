"""What does the model do before and after, and did it change?"""
