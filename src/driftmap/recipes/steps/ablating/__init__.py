"""What does the model do without some of its weights?"""
